"""Common given names in Latin letters, by where they are most common; written for this project from general knowledge.

They are weak evidence: "Grant", "Mark" and "Will" are words, and a newspaper is full of names that are nobody's secret.
So they count only beside other personal data; see `names_nearby`.
"""

GIVEN_NAMES = frozenset(
    # English
    """aaron abigail adam adrian aidan aisha alan albert alec alex alexander alexandra alexis alfred alice alison
    allan allen allison amanda amber amelia amy andrea andrew andy angela angus anita ann anna anne annie anthony
    antonia archie ariana arnold arthur ashley audrey austin ava barbara barry beatrice becky ben benjamin bernard
    beth bethany betty beverly bill billy blake bob bonnie brad bradley brandon brenda brett brian bridget bruce
    bryan caleb callum cameron carl carla carol caroline carolyn catherine cathy cecilia charles charlie charlotte
    chelsea cheryl chloe chris christian christina christine christopher claire clara clare claudia clifford colin
    connor courtney craig crystal curtis cynthia daisy dale damian dan daniel danielle darren dave david dawn dean
    deborah debra declan denise dennis derek diana diane dominic donald donna dora doreen doris dorothy douglas
    duncan dylan earl eddie edith edward edwin eileen elaine eleanor elizabeth ella ellen ellie elliot elsie emily
    emma eric erica erin ernest ethan eugene eva evan evelyn faith fiona florence frances francis frank fred
    frederick gabriel gail gareth gary gavin gemma geoffrey george georgia gerald geraldine gillian gina gladys
    glen glenn gloria gordon grace graham greg gregory gwen hannah harold harriet harry harvey hazel heather
    hector helen henry herbert holly howard hugh hugo ian ida imogen irene iris isaac isabel isabella isla ivy
    jack jackie jackson jacob jacqueline jake james jamie jan jane janet janice jared jasmine jason jay jean jeff
    jeffrey jenna jennifer jenny jeremy jerome jerry jesse jessica jill jim jimmy joan joanna joanne joe joel john
    johnny jonathan jordan joseph josh joshua joy joyce judith judy julia julian julie juliet justin kara karen
    karl kate katherine kathleen kathryn kathy katie kayla keith kelly ken kenneth kerry kevin kieran kim kimberly
    kirsty kristen kyle lachlan lance larry laura lauren laurence lawrence leah lee leo leon leonard leslie lewis
    liam lily linda lindsay lisa liz logan lois lorraine louis louise lucas lucy luke lydia lynda lynn madeline
    madison malcolm mandy marc marcus margaret maria marian marie marilyn marion marissa marjorie marlene marshall
    martha martin marvin mary mason matilda matthew maureen maurice max maxine megan melanie melissa melvin
    michael michelle miles milton miranda molly monica morgan muriel myra nancy naomi natalie natasha nathan
    nathaniel neil nell nicholas nick nicola nicole nigel nina noah noel nora norma norman oliver olivia oscar
    owen paige pamela patricia patrick paul paula pauline peggy penelope penny percy peter phil philip phillip
    phoebe phyllis polly priscilla rachel ralph ray raymond rebecca reginald rhys richard ricky rita rob robert
    roberta robin roger roland ron ronald rory rosa rosalind rose rosemary ross roy ruby rupert russell ruth ryan
    sally sam samantha samuel sandra sara sarah scott sean sebastian shannon sharon shaun sheila shirley sidney
    silvia simon simone sonia sophia sophie spencer stacey stanley stella stephanie stephen steve steven stewart
    stuart sue susan suzanne sylvia tamara tanya tara teresa terence terry thelma theodore theresa thomas tiffany
    timothy tina toby todd tom tony tracey tracy trevor tristan tyler valerie vanessa vera vernon veronica victor
    victoria vincent viola violet virginia vivian walter wanda warren wayne wendy wesley whitney wilfred william
    winifred yvonne zachary zara zoe siobhan niamh aoife ciara saoirse eoin padraig cillian"""
    # German, Dutch, Scandinavian
    """ agnes andreas angelika anja anke anneke annika ansgar antje astrid axel bart bernd birgit bjorn björn bram
    britta christoph dagmar daan detlef dieter dirk eberhard elke erik ernst esther eva femke finn florian franz
    frauke freya friedrich fritz georg gerd gerhard gertrud gisela greta gudrun gunther günther günter hanna hans
    hanne heike heiko heinrich heinz helga helmut hendrik henrik herbert hermann hilde holger horst ilse inga inge
    ingrid jana jens joachim jochen johan johanna johannes jonas jörg jürgen jutta kaspar katja katrin kees
    kerstin klaus konrad kurt lars lena lennart lieke liesbeth lotte ludwig lukas maarten magnus malte manfred
    mareike maren marlies matthias mats michaela mieke monika moritz niels nils nikolai olaf ole oskar otto petra
    pieter rainer ralf reinhard renate rolf rudolf ruud sabine sander saskia sigrid silke sjoerd solveig stefan
    stefanie susanne sven svetlana thijs thomas thorsten tobias torsten udo ulrich ulrike ursula uwe ute volker
    werner wilhelm willem wim wolfgang wouter"""
    # French, Italian, Spanish, Portuguese
    """ adriana adèle agathe alain alberto alejandra alejandro alessandra alessandro alessia alfonso alfredo
    álvaro amélie ana andrés angelo antoine antonella antonio arnaud aurélie baptiste beatriz benoît benoit
    bernardo bianca bruno camila camille carlos carmen carolina caterina cécile cecile céline celine chantal
    chiara christelle clément cristina corinne damien davide delphine denis diego dominique eduardo elena élise
    elisa emilio emmanuel enrico enrique ernesto estelle esteban étienne etienne fabien fabio federica federico
    felipe fernanda fernando filipe filippo florent francesca francesco francisco françois francois françoise
    frédéric frederic gabriela gabriele gaëlle geneviève gérard giacomo gianluca gilles giorgia giorgio giovanni
    giulia giuseppe gonzalo guillaume guillermo gustavo hélène helene hervé ignacio inês ines inès isabelle
    jacques javier jean-pierre jérôme jerome joaquín joao joão jorge josé jose josefina juan juana julien juliette
    laetitia laurent leticia lorena lorenzo louis luc luca lucía lucia luciana luigi luis luisa manuel manuela
    marcel marcelo marco margarita marguerite mariana mario marta martina mathieu mathilde matteo mauro maxime
    mercedes mickaël miguel mireille monique montserrat nadine nathalie nicolas nicolás noémie odile olivier pablo
    paola paolo pascal patrice patricio pedro philippe pierre pilar rafael raffaele ramón ramon raquel raúl raul
    régis rémi renaud renée ricardo roberto rocío rodrigo rodolfo romain rosario salvatore sandrine santiago
    séverine sergio silvana simona sofia sofía solange stéphane stéphanie susana sylvain sylvie teodoro thérèse
    thiago thierry tomás valentina valentino valeria verónica véronique vicente vincenzo virginie xavier yolanda
    yves"""
    # Slavic, Greek, Turkish, Hungarian
    """ agnieszka aleksander aleksandra alexei anastasia andrei andrzej anton arkady barbora bartosz beata bogdan
    boris bożena božena branislav cem dariusz daria dimitri dimitris dmitri dmitry dorota dragan dusan ekaterina
    elif emre evgeny ewa fatma felix filip grzegorz halina hasan igor ilona ioannis irina iva ivan ivana ivo
    jadwiga jakub jan janusz jarosław jerzy jiří joanna jozef józef justyna kaja kamil karolina kasia katarzyna
    kateryna kemal krzysztof ksenia lech leyla ludmila maciej magda magdalena małgorzata malgorzata marek mariusz
    marzena mateusz mehmet michał michal milan milena milos mirosław murat mustafa nadia nadja natalia nikola
    nikos oksana oleg olena olga ondrej osman pavel pawel paweł petar petr piotr radek rafał ralitsa renata sergei
    serkan slavko stanisław svetlana tadeusz tatiana tomasz tomáš urszula vaclav václav valentin vasily vera
    vladimir wanda wojciech yulia yuri zbigniew zdeněk zofia zoltan zoltán zuzana"""
    # Arabic, Persian, Hebrew, African
    """ abdul abdullah abdulrahman abebe abena adebayo adel ahmad ahmed akosua ali alaa amal amara amina amir
    amira anwar arash avi ayesha aziz bashir bilal chidi chiamaka chinedu chioma dalia daoud david ebele efua ehud
    emeka eyal farah farid faisal fatima fatou femi folake ghassan habiba hadi hamid hamza hana hanan haroun
    hassan hiba hussein ibrahim idris ifeoma imran ismail jamal jamila kamal kareem karim khadija khaled khalid
    kofi kwabena kwame laila layla leila lina maha mahmoud malik mandla mansour mariam maryam mehdi mohamed
    mohammad mohammed mona mostafa mouna muhammad mustapha nabil nadir nasser ngozi noor noura obinna olumide omar
    osama oluwaseun rahim rania rashid reza rima saeed saleh salim salma samir samira sami sana sanaa selma shira
    sipho soraya tariq tendai thabo thandiwe uche wanjiru yaw yael yasmin yasmine yousef youssef yusuf zahra
    zainab zanele zeinab zineb"""
    # Indian subcontinent
    """ aarav aditi aditya ajay akash akshay amit amrita anand ananya anil anita anjali ankit anup aparna arjun
    arun arvind asha ashok ashwin bhavna chandra chetan deepa deepak devika dinesh divya farhan gaurav gautam
    geeta girish gopal harish harpreet hema indira isha jaya jyoti kabir kalpana kavita kavya kiran kishore
    krishna kunal lakshmi lalita madhav mahesh malini manish manoj meena meera mohan mukesh naveen neha nikhil
    nisha nitin padma pankaj parvati pooja pradeep prakash pranav prasad praveen preeti priya priyanka rahul raj
    rajat rajesh rajiv rakesh ramesh ravi rekha rishi ritu rohan rohit sachin sandeep sangeeta sanjay sanjeev
    santosh saurabh seema shalini shankar shreya shyam siddharth sita smita sneha sonali srinivas sudha sudhir
    suman sunil sunita suresh sushma swati tanvi usha varun vijay vikas vikram vinay vineet vinod vishal vivek
    yash"""
    # Chinese, Japanese, Vietnamese, Korean in Latin letters (Korean ones with and without the hyphen)
    """ akemi akiko akira aiko ayumi chen chiyo daisuke emi fumiko haruka haruki haruto hideo hiroko hiroshi jing
    jun kaori kazuo keiko kenji kenta kiyoshi koji lei li ling mai makoto mariko masako masato mei michiko midori
    minh naoki naoko natsuki nobuo noriko phuong quan rei ren rin ryo sakura satoshi shinji shizuka sora takashi
    takeshi takumi tao taro thi thu tomoko toshiro tuan wei xia xiao xin yan yang yasuo ying yoko yoshiko yuki
    yumi yumiko yuto areum bomi bora boram byung-ho chae-won chaewon chang-ho daehyun dae-jung dahye dong-hyun
    donghyun eun-ji eunji eun-hye eunhye eun-young ga-eun gaeun gyu-ri ha-eun haeun ha-joon hae-jin haneul ho-jin
    hye-jin hyejin hye-won hyewon hyo-jin hyun-a hyun-jin hyunjin hyun-joo hyun-seok hyun-woo hyunwoo in-ho
    jae-hyun jaehyun jae-min jaemin jae-won ji-eun jieun ji-hoon jihoon ji-hye jihye ji-hyun jihyun ji-min jimin
    ji-soo jisoo ji-won jiwon ji-woo jiwoo ji-yeon ji-young jiyoung jin-ho jin-woo jong-min joo-hee joon-ho
    joon-young jun-ho junho jun-seo jun-young kwang-soo kyung-ho kyung-hee kyung-soo mi-kyung mi-na mi-ran mi-sook
    mi-young min-a min-ho minho min-hyuk min-ji minji min-jun minjun min-kyu min-seo minseo min-seok min-soo
    min-su minsu min-young moon-hee myung-hee na-rae na-yeon sang-hoon sang-woo se-hun se-jin seo-hyun seohyun
    seo-jun seojun seo-yeon seoyeon seok-jin seul-gi seung-ho seung-hyun seung-min so-hee so-yeon soo-ah soo-jin
    soojin soo-min soo-young soyeon su-bin subin su-jin sun-hee sun-young sung-ho sung-jin sung-min tae-hyung
    taehyung tae-yang woo-jin woojin ye-eun ye-jin yejin yeon-woo yoo-jin yoojin yong-ho yong-soo yoon-a young-ho
    young-hee young-jae young-min young-soo yu-jin yujin yu-na yuna""".split()
)
