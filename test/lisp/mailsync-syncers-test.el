;;; mailsync-syncers-test.el --- Syncers, described and refused  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'mailsync-test-helper)

(defconst syncers-test--fields
  '(kind program all target config args search environment directory input
         success naming separator prefix pulls-only per-run per-folder worker
         idle quit)
  "What the elements of the module's vector are.")

(defun syncers-test-describe (syncer &rest fields)
  "What FIELDS of the description of SYNCER are, lists for vectors."
  (let ((vector (car (mailsync-syncers-describe "w" syncer))))
    (mapcar (lambda (field)
              (let ((value (aref vector (seq-position syncers-test--fields field))))
                (if (vectorp value) (append value nil) value)))
            fields)))

(ert-deftest syncers-test-descriptions ()
  "What each syncer comes to."
  (pcase-dolist
      (`(,syncer . ,expected)
       `(((mailsync-mbsync "work" :config "/x/rc" :args ("-V"))
          "mbsync" ("mbsync") nil "work" "/x/rc" ("-V") nil)
         (mailsync-mbsync "mbsync" ("mbsync") nil nil nil nil nil)
         ((mailsync-mbsync :executable "/opt/mbsync")
          "mbsync" ("/opt/mbsync") nil nil nil nil nil)
         ((mailsync-offlineimap "Home" :args ("-k" "a:b=c"))
          "offlineimap" ("offlineimap") nil "Home" nil ("-k" "a:b=c") nil)
         ((mailsync-command "prog" "%f" "x")
          "command" ("prog" "%f" "x") nil nil nil nil nil)
         ((mailsync-command "prog" "Entwürfe" :all-args ("all") :pulls-only t)
          "command" ("prog" "Entw\303\274rfe") ("all") nil nil nil t)
         ((mailsync-command "prog" :all-args nil)
          "command" ("prog") nil nil nil nil nil)
         (,(lambda (_) '("mine" "x")) "command" ("mine" "x") nil nil nil nil nil)
         ((,(lambda (account &rest args) (list :command (cons account args))) "y")
          "command" ("w" "y") nil nil nil nil nil)))
    (should (equal (syncers-test-describe syncer 'kind 'program 'all 'target
                                          'config 'args 'pulls-only)
                   expected))))

(ert-deftest syncers-test-the-rest-of-a-description ()
  (should (equal (syncers-test-describe
                  '(mailsync-command "p" :naming imap :separator "." :prefix "x/"
                                     :directory "/d" :input "in" :success (3 4)
                                     :per-folder nil :per-run t)
                  'naming 'separator 'prefix 'directory 'input 'success
                  'per-folder 'per-run)
                 '("imap" "." "x/" "/d" "in" (3 4) nil t)))
  (should (equal (syncers-test-describe '(mailsync-command "p")
                                        'naming 'separator 'prefix 'directory
                                        'input 'success 'per-folder 'per-run)
                 '("utf-8" nil nil nil "" nil t nil)))
  (should (eql (cdr (mailsync-syncers-describe
                     "w" '(mailsync-command "p" :timeout 2.5)))
               2.5)))

(ert-deftest syncers-test-workers ()
  "A worker goes alone, or with what is run where it fails."
  (pcase-dolist
      (`(,syncer . ,expected)
       `(((mailsync-worker "w" "Ü" :idle 5 :naming imap)
          "worker" ("worker") ("w" "\303\234") 5.0 1800.0 "imap")
         ((mailsync-worker "/opt/w" :quit 60 :command ("p" "%f"))
          "command" ("p" "%f") ("/opt/w") 300.0 60.0 "utf-8")
         ((mailsync-worker "w" :program mbsync :target "work")
          "mbsync" ("mbsync") ("w") 300.0 1800.0 "utf-8")
         ((mailsync-offlineimap "Home" :persistent t :config "/x/rc"
                                :args ("-k" "a:b=c"))
          "offlineimap" ("offlineimap")
          ("python3" ,(expand-file-name "mailsync-offlineimap-worker.py"
                                        mailsync-syncers--directory)
           "Home" "-k" "a:b=c" "-c" "/x/rc")
          300.0 1800.0 "imap")
         ((mailsync-offlineimap "Home" :persistent nil)
          "offlineimap" ("offlineimap") nil 300.0 1800.0 "utf-8")))
    (should (equal (syncers-test-describe syncer 'kind 'program 'worker 'idle
                                          'quit 'naming)
                   expected)))
  (should (file-exists-p (expand-file-name "mailsync-offlineimap-worker.py"
                                           mailsync-syncers--directory))))

(ert-deftest syncers-test-before-a-run ()
  "The function is told the folders; what it returns is for that run."
  (let* (told
         (syncer (list (lambda (&rest args)
                         (setq told args)
                         '("p"))
                       "own")))
    (should (aref (car (mailsync-syncers-describe "w" syncer '("a" "b") t)) 15))
    (should (equal told '("w" :folders ("a" "b") "own")))
    (mailsync-syncers-describe "w" syncer nil t)
    (should (equal told '("w" :folders nil "own")))
    (mailsync-syncers-describe "w" syncer)
    (should (equal told '("w" "own")))))

(ert-deftest syncers-test-before-a-run-of-a-command ()
  "The functions that come along are none the wiser."
  (should (equal (aref (car (mailsync-syncers-describe
                             "w" '(mailsync-command "p" "%f" :per-run t)
                             '("a") t))
                       1)
                 ["p" "%f"])))

(ert-deftest syncers-test-names-of-the-account ()
  "What the account says of names holds for a command that says nothing."
  (pcase-dolist (`(,own ,separator ,prefix)
                 '((() "." "x/") ((:separator "/" :prefix "") "/" "")))
    (let ((syncer (aref (syncers-test-sync
                         `("w" :maildir "/m" :separator "." :prefix "x/"
                           :syncer (mailsync-command "p" "%f" ,@own)))
                        9)))
      (should (equal (list (aref syncer 12) (aref syncer 13))
                     (list separator prefix))))))

(ert-deftest syncers-test-environment ()
  "The syncer's own entries come first; one without a value removes a variable."
  (cl-letf* (((default-value 'process-environment) '("A=1" "B=2" "C" 7 "C=3" "D=4"))
             (environment (car (syncers-test-describe
                                '(mailsync-command
                                  "p" :environment ("B=x" "D"))
                                'environment))))
    (should (equal environment '("B=x" "A=1")))))

(ert-deftest syncers-test-search ()
  (cl-letf (((default-value 'exec-path) '("/a" nil 7 "/b/")))
    (should (equal (car (syncers-test-describe 'mailsync-mbsync 'search))
                   '("/a" "/b/")))))

(ert-deftest syncers-test-refusals ()
  "What is wrong is one sentence that names the account, the key and the function."
  (pcase-dolist
      (`(,syncer ,text)
       `((no-such-function "there is no function")
         (("mbsync" "work") "there is no function")
         (,(lambda (_) (error "Oops")) "it signals: Oops")
         (,(lambda (_) (signal 'quit nil)) "it signals: Quit")
         (,(lambda (_) (signal 'no-error '(1))) "it signals: peculiar error")
         (,(lambda (_)) "it returns nil")
         (,(lambda (_) 7) "it returns 7")
         (,(lambda (_) '(:command . "x")) "it returns")
         (,(lambda (_) '("x" . "y")) ":command is")
         (,(lambda (_) '(:input "x")) ":command is missing")
         ((mailsync-command) ":command is missing")
         (,(lambda (_) '(:command ("x") :program mbsync)) ":command and :program")
         ((mailsync-command "p" :program mbsync) ":command and :program")
         ((mailsync-mbsync "a" :command ("x")) ":command and :program")
         ((mailsync-mbsync "a" :program "/opt/mbsync") ":executable")
         ((mailsync-command "") ":command is")
         ((mailsync-command "p" :naming latin) ":naming is latin")
         ((mailsync-command "p" :success 3) ":success is 3")
         ((mailsync-command "p" :succes (3)) "there is no key :succes")
         ((mailsync-command "p" :timeout 0) ":timeout is 0")
         ((mailsync-command "p" "a\0b") ":command is")
         ;; Tramp would connect to find out where they are.
         ((mailsync-mbsync "w" :config "/ssh:host.invalid:~/rc") ":config is")
         ((mailsync-mbsync :executable "/ssh:host.invalid:~/x") ":executable is")
         ((mailsync-command "p" :directory "/ssh:host.invalid:~/") ":directory is")
         ((mailsync-command "/ssh:host.invalid:~/p") ":command is")
         ((mailsync-mbsync "a" "b") "one channel or group")
         ((mailsync-offlineimap) "the name of one account")
         ((mailsync-offlineimap "Home" :persistent 3) ":persistent is 3")
         ((mailsync-worker) ":command is missing")
         ((mailsync-worker "p" :idle 0) ":idle is 0")
         ((mailsync-worker "/ssh:host.invalid:~/p") ":worker is")
         ((mailsync-worker "p" :per-run t) ":worker and :per-run")))
    (let ((err (should-error (mailsync-syncers-describe "w" syncer)
                             :type 'mailsync-syncer-error)))
      (should (string-match-p (regexp-quote text) (cadr err)))
      (should (string-match-p "account \"w\", :syncer" (cadr err))))))

(ert-deftest syncers-test-keys-of-each ()
  "A key that nobody has is refused with those of the function that got it."
  (let ((text-quoting-style 'grave))
    (pcase-dolist
        (`(,syncer ,name ,keys)
         `(((mailsync-mbsync "work" :confg "x") mailsync-mbsync
            ":config :args :executable :environment :directory :timeout")
           ((mailsync-mbsync :config "x" :timeouts 3) mailsync-mbsync
            ":config :args :executable :environment :directory :timeout")
           ((mailsync-offlineimap "Home" :persistant t) mailsync-offlineimap
            ":config :args :executable :environment :directory :timeout \
:persistent :idle :quit")
           ((mailsync-command "p" :succes (3)) mailsync-command
            ":all-args :naming :separator :prefix :per-folder :pulls-only \
:environment :directory :input :timeout :success :per-run")
           ((mailsync-worker "p" :idel 3) mailsync-worker
            ":idle :quit :command :program :target :config :args :executable \
:all-args :naming :separator :prefix :per-folder :pulls-only :environment \
:directory :input :timeout :success")
           ;; Who calls one of them is told of that one.
           (,(lambda (account) (mailsync-mbsync account "work" :confg "x"))
            mailsync-mbsync
            ":config :args :executable :environment :directory :timeout")))
      (let ((err (should-error (mailsync-syncers-describe "w" syncer)
                               :type 'mailsync-syncer-error)))
        (should (string-suffix-p (format "; the keys of `%s' are %s" name keys)
                                 (cadr err)))
        (should (string-match-p "\\`account \"w\", :syncer .*: there is no key :[a-z]+;"
                                (cadr err))))))
  ;; What a function of the user's returns may have any of them.
  (let ((err (should-error (mailsync-syncers-describe
                            "w" (lambda (_) '(:program mbsync :confg "x")))
                           :type 'mailsync-syncer-error)))
    (pcase-dolist (`(,key . ,_) mailsync-syncers--keys)
      (should (string-match-p (format "the keys are .*%s\\_>" key) (cadr err)))))
  (pcase-dolist (`(,_ . ,keys) mailsync-syncers--own-keys)
    (dolist (key keys)
      (should (assq key mailsync-syncers--keys)))))

;;;; In an account

(defun syncers-test-sync (account)
  "The SYNC part of ACCOUNT, as the module wants it."
  (let* ((mailsync-accounts (list account))
         (vector (mailsync-accounts-for-module (mailsync-accounts-read))))
    (aref (aref vector 0) 4)))

(ert-deftest syncers-test-delays ()
  "The account's own delays, then the options."
  (let ((mailsync-base-delay 3)
        (mailsync-inter-delay '(("INBOX" . 1) (t . 7)))
        (mailsync-ignore-folders '("Spam")))
    (pcase-dolist
        (`(,keys ,base ,inter ,overrides ,timeout ,ignore)
         '((() 3.0 7.0 (["INBOX" 1.0]) 300.0 ("Spam"))
           ((:base-delay 1 :inter-delay 2 :sync-timeout 9 :ignore ("Trash/*"))
            1.0 2.0 nil 9.0 ("Trash/*" "Spam"))
           ((:inter-delay (("a*" . 60) ("b" . 0.5)))
            3.0 7.0 (["a*" 60.0] ["b" 0.5]) 300.0 ("Spam"))))
      (let ((sync (syncers-test-sync
                   `("w" :maildir "/m" :syncer (mailsync-mbsync "x") ,@keys))))
        (should (equal (list (aref sync 0) (aref sync 1)
                             (append (aref sync 2) nil) (aref sync 6)
                             (append (aref sync 8) nil))
                       (list base inter overrides timeout ignore)))))))

(ert-deftest syncers-test-own-timeout ()
  (should (equal (aref (syncers-test-sync
                        '("w" :maildir "/m" :syncer
                          (mailsync-command "p" :timeout 5)))
                       6)
                 5.0)))

(ert-deftest syncers-test-bad-syncer-is-no-bad-account ()
  "An account whose syncer cannot be used is watched, and that is said once."
  (let* ((mailsync--said nil)
         (said 0)
         (mailsync-accounts '(("w" :maildir "/m" :syncer no-such-function))))
    (cl-letf (((symbol-function 'message)
               (lambda (&rest _) (setq said (1+ said)))))
      (dotimes (_ 2)
        (let ((vector (mailsync-accounts-for-module (mailsync-accounts-read))))
          (should (= (length vector) 1))
          (should-not (aref (aref vector 0) 4)))))
    (should (= said 1))
    (should (string-match-p "no-such-function.*not synced"
                            (car mailsync-accounts--faults)))))

(ert-deftest syncers-test-quotes ()
  "Keys stand as they are; what else is Lisp is quoted as the user likes it."
  (let ((text-quoting-style 'curve))
    (pcase-dolist (`(,syncer ,text)
                   '((no-such-function "‘no-such-function’")
                     ((mailsync-mbsync "a" "b") "‘mailsync-mbsync’")
                     ((mailsync-offlineimap) "‘mailsync-offlineimap’")
                     ((mailsync-offlineimap "a" :persistent 3) ": :persistent is")
                     ((mailsync-command "p" :naming latin)
                      ":naming is latin, but has to be ‘utf-8’ or ‘imap’")))
      (let ((err (should-error (mailsync-syncers-describe "w" syncer)
                               :type 'mailsync-syncer-error)))
        (should (string-match-p (regexp-quote text) (cadr err)))
        (should-not (string-match-p "[`']" (cadr err)))))))

(ert-deftest syncers-test-bad-options ()
  "An option that cannot be used is said, and its standard value is."
  (let ((mailsync--said nil)
        (mailsync-inter-delay "soon")
        (mailsync-ignore-folders "Spam")
        (inhibit-message t))
    (let ((sync (syncers-test-sync
                 '("w" :maildir "/m" :syncer (mailsync-mbsync)))))
      (should (equal (aref sync 1) 5.0))
      (should (equal (aref sync 8) []))
      (dolist (option '(mailsync-inter-delay mailsync-ignore-folders))
        (should (member (list option) mailsync--said))))))

(provide 'mailsync-syncers-test)
;;; mailsync-syncers-test.el ends here
